use super::*;

const SECRET: &str = "zqx";

fn complete_with(
    given: Option<&str>,
    variables: &[(&str, &str)],
) -> Result<Option<String>, String> {
    let variable = |name: &str| {
        let found = variables.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, value)| OsString::from(value))
    };
    let environment = Environment {
        variable: &variable,
        home: None,
        user: &|| Some("me".to_owned()),
    };
    let completed = complete(given, &environment).map_err(|error| error.to_string())?;
    Ok(completed.map(|completed| completed.connection_string))
}

fn completed(given: Option<&str>, variables: &[(&str, &str)]) -> String {
    complete_with(given, variables)
        .expect("valid")
        .expect("a database")
}

/// A file of this test, removed with it.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("emmett-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        Self(path)
    }

    fn name(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

#[test]
fn all_variables_count_where_nothing_else_is_said() {
    let variables = [
        ("PGAPPNAME", "report"),
        ("PGCONNECT_TIMEOUT", "3"),
        ("PGDATABASE", "shop"),
        ("PGHOST", "db"),
        ("PGHOSTADDR", "10.0.0.1"),
        ("PGOPTIONS", "-c a=b"),
        ("PGPASSWORD", r"it's \ here"),
        ("PGPORT", "6432"),
        ("PGSSLCERT", "/c"),
        ("PGSSLKEY", "/k"),
        ("PGSSLMODE", "verify-full"),
        ("PGSSLROOTCERT", "/r"),
        ("PGTARGETSESSIONATTRS", "read-write"),
        ("PGUSER", "anna"),
    ];
    assert_eq!(
        completed(None, &variables),
        r"application_name='report' connect_timeout='3' dbname='shop' host='db' hostaddr='10.0.0.1' options='-c a=b' password='it\'s \\ here' port='6432' sslcert='/c' sslkey='/k' sslmode='verify-full' sslrootcert='/r' target_session_attrs='read-write' user='anna'"
    );
    assert_eq!(
        completed(
            Some("postgresql://ben:own@other:1/x?sslmode=disable"),
            &[
                ("PGHOST", "db"),
                ("PGPORT", "2"),
                ("PGUSER", "anna"),
                ("PGPASSWORD", "none"),
                ("PGSSLMODE", "require"),
                ("PGDATABASE", "shop"),
                ("PGAPPNAME", ""),
            ]
        ),
        "dbname='x' host='other' password='own' port='1' sslmode='disable' user='ben'"
    );
    assert!(completed(Some("host=db"), &[("PGREQUIRESSL", "1")]).contains("sslmode='require'"));
}

#[test]
fn a_service_counts_more_than_variables_and_less_than_the_connection_string() {
    let file = File::new(
        "services",
        "[shop]\nhost=db\nport=7000\nuser=anna\n[bad]\nport=zqx\n[odd]\npasswort=zqx\n[broken]\nzqx\n",
    );
    let variables = [
        ("PGSERVICEFILE", file.name()),
        ("PGSERVICE", "shop"),
        ("PGUSER", "ben"),
        ("PGDATABASE", "x"),
    ];
    let all = "dbname='x' host='db' port='7000' user='anna'";
    assert_eq!(completed(None, &variables), all);
    assert_eq!(
        completed(Some("port=1 user=carla"), &variables),
        "dbname='x' host='db' port='1' user='carla'"
    );
    let without = [variables[0], variables[3]];
    assert_eq!(
        completed(Some("postgresql:///?service=shop"), &without),
        all
    );
    for (service, expected) in [
        ("none", "there is no service \"none\" in "),
        ("bad", ": the connection parameter `port` must be"),
        ("odd", ": `passwort` is not a connection parameter"),
        ("broken", "line 10 of the service file "),
    ] {
        let error = complete_with(None, &[variables[0], ("PGSERVICE", service)]).unwrap_err();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains(file.name()), "{error}");
        assert!(!error.contains(SECRET), "{error}");
    }
    let gone = [("PGSERVICEFILE", "/nowhere/zq"), ("PGSERVICE", "shop")];
    let error = complete_with(None, &gone).unwrap_err();
    assert!(
        error.contains("cannot read the service file /nowhere/zq"),
        "{error}"
    );
}

#[test]
fn nothing_is_made_of_nothing() {
    assert_eq!(complete_with(None, &[]), Ok(None));
    let no_database = [("PGUSER", "anna"), ("PGPASSWORD", "x"), ("PGPORT", "1")];
    assert_eq!(complete_with(None, &no_database), Ok(None));
    let there = completed(None, &[("PGDATABASE", "shop"), ("PGPORT", "1")]);
    assert_eq!(there, "dbname='shop' host='localhost' port='1'");
}

#[test]
fn what_is_wrong_around_the_string_is_named_without_its_value() {
    for (variable, value) in [
        ("PGPORT", "zqx"),
        ("PGSSLMODE", "zqx"),
        ("PGCONNECT_TIMEOUT", "zqx"),
        ("PGREQUIREPEER", "zqx"),
    ] {
        let error = complete_with(Some("host=db"), &[(variable, value)]).unwrap_err();
        assert!(error.contains(variable), "{error}");
        assert!(!error.contains(SECRET), "{error}");
    }
    let uneven = complete_with(None, &[("PGHOST", "a,b"), ("PGPORT", "1,2,3")]).unwrap_err();
    assert!(uneven.contains("from the environment"), "{uneven}");
    // The caller that uses the string reports its errors.
    for wrong in ["nonsense", "host=db port=zqx"] {
        assert!(complete_with(Some(wrong), &[]).is_ok());
    }
}

#[test]
fn a_server_gets_its_own_password_only() {
    let file = File::new(
        "passwords",
        "a:5432:shop:anna:one\nb:1:shop:anna:two\n10.0.0.1:*:shop:anna:address\n\
         localhost:*:me:me:local\nc:*:*:*:one\n",
    );
    let of = |given: &str| complete_with(Some(given), &[("PGPASSFILE", file.name())]);
    for (given, password) in [
        ("host=a dbname=shop user=anna", Some("one")),
        ("host=a port=1 dbname=shop user=anna", None),
        ("postgresql://anna@b:1/shop", Some("two")),
        ("postgresql://anna:own@b:1/shop", Some("own")),
        ("hostaddr=10.0.0.1 dbname=shop user=anna", Some("address")),
        ("host=/tmp port=1", Some("local")),
        ("host=a,c dbname=shop user=anna", Some("one")),
    ] {
        let completed = of(given).unwrap().unwrap();
        let found = completed.split("password='").nth(1);
        let found = found.and_then(|rest| rest.split('\'').next());
        assert_eq!(found, password, "{given}: {completed}");
    }
    for mixed in ["host=a,b port=5432,1", "host=a,d"] {
        let error = of(&format!("{mixed} dbname=shop user=anna")).unwrap_err();
        assert!(error.contains("different passwords"), "{error}");
    }
}
