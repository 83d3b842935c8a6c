use super::*;

fn parse(text: &str) -> Endpoint {
    Endpoint::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn error(text: &str) -> String {
    Endpoint::parse(text).expect_err(text).to_string()
}

fn hosts(text: &str) -> Vec<String> {
    parse(text).hosts.iter().map(ToString::to_string).collect()
}

#[test]
fn a_url_and_a_list_describe_the_same_endpoint() {
    for text in [
        "postgresql://me:secret@db.example:6432/app",
        "postgres://me:secret@db.example:6432/app",
        "  postgresql://db.example/app?port=6432&user=me&password=secret\n",
        "host=db.example port=6432 dbname=app user=me password=secret",
        " host = db.example\nport=6432  dbname='app' user = 'me' password=secret ",
    ] {
        let endpoint = parse(text);
        assert_eq!(
            endpoint.describe(),
            "database \"app\" on db.example:6432 as user \"me\"",
            "{text}"
        );
        assert_eq!(
            endpoint.config.get_password(),
            Some("secret".as_bytes()),
            "{text}"
        );
    }
}

#[test]
fn what_is_not_given_is_left_to_the_server_and_the_system() {
    let endpoint = parse("postgresql://localhost");
    assert_eq!(
        endpoint.describe(),
        "the user's database on localhost:5432 as the operating system's user"
    );
    assert_eq!(
        parse("host=localhost user='' password='' dbname=''").describe(),
        endpoint.describe()
    );
    assert_eq!(endpoint.config.get_password(), None);
}

#[test]
fn percent_encoding_is_decoded_once() {
    let endpoint = parse(
        "postgresql://m%40e:p%3Aa%2fs%25s%40%20%C3%A9@localhost/a%2Fb%2525?options=-c%20x%3Dy",
    );
    assert_eq!(endpoint.config.get_user(), Some("m@e"));
    assert_eq!(
        endpoint.config.get_password(),
        Some("p:a/s%s@ \u{e9}".as_bytes())
    );
    assert_eq!(endpoint.config.get_dbname(), Some("a/b%25"));
    assert_eq!(endpoint.config.get_options(), Some("-c x=y"));
}

#[test]
fn quotes_and_backslashes_of_a_list_are_read_as_by_libpq() {
    let endpoint = parse(r"host=localhost password='it\'s \\ a=b' user=m\'e\ x options='-c a='");
    assert_eq!(
        endpoint.config.get_password(),
        Some(r"it's \ a=b".as_bytes())
    );
    assert_eq!(endpoint.config.get_user(), Some("m'e x"));
    assert_eq!(endpoint.config.get_options(), Some("-c a="));
}

#[test]
fn several_hosts_have_their_own_ports() {
    assert_eq!(
        hosts("postgresql://a,b:5433,[::1],[::2]:5434/x"),
        ["a:5432", "b:5433", "[::1]:5432", "[::2]:5434"]
    );
    assert_eq!(hosts("host=a,b port=7000"), ["a:7000", "b:7000"]);
    assert_eq!(hosts("host=a,b port=7000,"), ["a:7000", "b:5432"]);
    assert_eq!(
        hosts("host=a,/tmp hostaddr=10.0.0.1,"),
        ["a:5432", "/tmp/.s.PGSQL.5432"]
    );
    assert_eq!(
        hosts("hostaddr=10.0.0.1,::1"),
        ["10.0.0.1:5432", "[::1]:5432"]
    );
    assert!(error("host=a,b,c port=1,2").contains("different numbers"));
    assert!(error("host=a,b hostaddr=10.0.0.1").contains("different numbers"));
}

#[test]
fn a_directory_is_a_socket() {
    for text in [
        "postgresql:///app?host=/run/db&port=5433",
        "postgresql://ignored/app?host=%2Frun%2Fdb&port=5433",
        "postgresql://%2Frun%2Fdb:5433/app",
        "host=/run/db port=5433",
    ] {
        assert_eq!(hosts(text), ["/run/db/.s.PGSQL.5433"], "{text}");
    }
}

#[test]
fn connections_are_hardened_unless_the_string_says_otherwise() {
    let config = parse("host=localhost").config;
    assert_eq!(config.get_application_name(), Some("emmett"));
    assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(10)));
    assert_eq!(
        config.get_tcp_user_timeout(),
        Some(&Duration::from_secs(30))
    );
    assert!(config.get_keepalives());
    assert_eq!(config.get_keepalives_idle(), Duration::from_secs(30));
    assert_eq!(
        config.get_keepalives_interval(),
        Some(Duration::from_secs(10))
    );
    assert_eq!(config.get_keepalives_retries(), Some(3));
}

#[test]
fn the_string_wins_over_the_defaults() {
    let config = parse(
        "postgresql://localhost?application_name=shop&connect_timeout=2&tcp_user_timeout=1500&keepalives=1\
         &keepalives_idle=5&keepalives_interval=6&keepalives_count=7&target_session_attrs=read-write",
    )
    .config;
    assert_eq!(config.get_application_name(), Some("shop"));
    assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(2)));
    assert_eq!(
        config.get_tcp_user_timeout(),
        Some(&Duration::from_millis(1500))
    );
    assert_eq!(config.get_keepalives_idle(), Duration::from_secs(5));
    assert_eq!(
        config.get_keepalives_interval(),
        Some(Duration::from_secs(6))
    );
    assert_eq!(config.get_keepalives_retries(), Some(7));
    assert_eq!(
        config.get_target_session_attrs(),
        postgres::config::TargetSessionAttrs::ReadWrite
    );
}

#[test]
fn zero_means_the_systems_own_setting() {
    let config = parse(
        "host=localhost connect_timeout=0 tcp_user_timeout=0 keepalives=0 keepalives_count=0",
    )
    .config;
    assert_eq!(config.get_connect_timeout(), None);
    assert_eq!(config.get_tcp_user_timeout(), None);
    assert!(!config.get_keepalives());
    assert_eq!(config.get_keepalives_retries(), None);
}

#[test]
fn an_error_names_the_parameter() {
    for (text, named) in [
        ("postgresql://localhost?pgbouncer=true", "`pgbouncer`"),
        (
            "postgresql://localhost?pgbouncer=%zz",
            "`pgbouncer` is not a connection parameter",
        ),
        ("host=localhost sslcrl=x", "`sslcrl`"),
        ("host=localhost passfile=x", "`passfile`"),
        ("host=localhost port=port", "`port`"),
        ("host=localhost port=70000", "`port`"),
        ("hostaddr=localhost", "`hostaddr`"),
        ("host=localhost connect_timeout=soon", "`connect_timeout`"),
        ("host=localhost tcp_user_timeout=-1", "`tcp_user_timeout`"),
        ("host=localhost keepalives_count=x", "`keepalives_count`"),
        (
            "host=localhost target_session_attrs=primary",
            "`target_session_attrs`",
        ),
        ("host=localhost channel_binding=maybe", "`channel_binding`"),
        ("host=localhost gssencmode=require", "`gssencmode`"),
        ("host=localhost client_encoding=LATIN1", "`client_encoding`"),
        ("host=localhost sslmode=verify", "`sslmode`"),
        ("host=localhost sslmode=", "`sslmode`"),
        ("postgresql://localhost/?sslmode=%zz", "`sslmode`"),
        ("postgresql://localhost/a%00b", "`dbname`"),
        ("postgresql://[::1/app", "`host`"),
        ("host=localhost options='-c x", "`options`"),
        ("dbname=app", "`host` is missing"),
        ("postgresql:///app", "`host` is missing"),
        ("host=a,,b", "`host` is missing"),
    ] {
        assert!(error(text).contains(named), "{text}: {}", error(text));
    }
}

#[test]
fn what_is_no_connection_string_is_refused() {
    assert!(error("").contains("empty"));
    assert!(error(" \n").contains("empty"));
    assert!(error("postgresql://localhost?x").contains("`name=value`"));
    for text in [
        "localhost",
        "mysql://localhost/app",
        "=",
        "=x",
        "not a string",
    ] {
        assert!(
            error(text).contains("neither a URL"),
            "{text}: {}",
            error(text)
        );
    }
}

#[test]
fn no_message_shows_a_piece_of_a_password() {
    for text in [
        "postgresql://me:zq@zq@localhost/app",
        "postgresql://me:zq/zq@localhost/app",
        "postgresql://me:12/zq@localhost/app",
        "postgresql://me:zq?zq/zq@localhost/app",
        "postgresql://me:12/x?zq=zq@localhost/app",
        "postgresql://me:zq%zz@localhost/app",
        "postgresql://me:zq@localhost/app?zz",
        "postgresql://me:zq@localhost:zq/app",
        "host=localhost password=zq zq",
        "host=localhost password=zq zq=zq",
        "host=localhost password='zq'zq' user=me",
        "host=localhost password='zq",
        "host=localhost password=zq x=1",
        "postgresql://me:zq@localhost?keepalives=zq",
    ] {
        let error = Endpoint::parse(text).expect_err(text);
        assert!(
            !format!("{error} {error:?}").contains("zq"),
            "{text}: {error:?}"
        );
    }
}

#[test]
fn neither_debug_nor_description_shows_the_password() {
    let endpoint = parse("postgresql://me:zq@localhost/app");
    let shown = format!("{endpoint:?} {endpoint:#?} {}", endpoint.describe());
    assert!(
        shown.contains("localhost:5432") && !shown.contains("zq"),
        "{shown}"
    );
}

#[test]
fn a_failed_connection_says_where_and_why_but_not_the_password() {
    let endpoint = parse("host=127.0.0.1,/nowhere port=1,2 user=me password=zq sslmode=disable");
    let Err(error) = endpoint.connect() else {
        panic!("nobody listens there")
    };
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("127.0.0.1:1: error connecting"), "{shown}");
    assert!(
        shown.contains("; /nowhere/.s.PGSQL.2: error connecting"),
        "{shown}"
    );
    assert!(!shown.contains("zq"), "{shown}");
}

#[test]
fn a_server_that_demands_tls_and_gets_none_is_hinted_at() -> anyhow::Result<()> {
    let rules = std::env::temp_dir().join(format!("emmett-hostssl-{}", std::process::id()));
    std::fs::write(&rules, "local all all trust\nhostssl all all all trust\n")?;
    let server = crate::testing::Server::builder()
        .listen_on_localhost()
        .setting("hba_file", &rules.to_string_lossy())
        .start()?;
    std::fs::remove_file(&rules)?;
    let url = server.localhost_url("postgres").unwrap();
    let message = |parameters: &str| {
        let endpoint = parse(&format!("{url}?{parameters}"));
        endpoint.connect().err().expect(parameters).to_string()
    };

    let disabled = message("sslmode=disable");
    assert!(disabled.ends_with(LACKS_TLS), "{disabled}");
    let preferred = message("sslmode=prefer");
    assert_eq!(
        preferred.contains(LACKS_TLS),
        cfg!(not(feature = "tls")),
        "{preferred}"
    );
    // The socket needs no TLS, and a missing role has the same code.
    let socket = format!("{}&user=nobody", server.url("postgres"));
    let missing = parse(&socket).connect().err().expect("no role").to_string();
    assert!(!missing.contains("TLS"), "{missing}");
    Ok(())
}

#[test]
fn a_connection_string_of_the_library_leads_nowhere_else() {
    for text in [
        "service=shop",
        "postgresql://localhost/?service=shop",
        "host=localhost passfile=/x",
    ] {
        assert!(
            error(text).contains("is not a connection parameter"),
            "{text}"
        );
    }
}

#[test]
fn contradictory_encryption_is_refused() {
    for mode in ["disable", "allow", "prefer", "require", "verify-ca"] {
        let text = format!("host=localhost sslrootcert=system sslmode={mode}");
        assert!(
            error(&text).contains("needs `sslmode=verify-full`"),
            "{text}"
        );
    }
    assert!(error("host=localhost sslcert=x").contains("belong together"));
    assert!(error("host=localhost sslkey=x").contains("belong together"));
}

#[cfg(feature = "tls")]
#[test]
fn every_mode_of_the_manual_is_understood() {
    for (parameters, mode) in [
        ("", SslMode::Prefer),
        ("sslmode=disable", SslMode::Disable),
        ("sslmode=allow", SslMode::Allow),
        ("sslmode=prefer", SslMode::Prefer),
        ("sslmode=require", SslMode::Require),
        ("ssl=true", SslMode::Require),
        ("sslmode=verify-ca&sslrootcert=x", SslMode::VerifyCa),
        ("sslmode=verify-full&sslrootcert=x", SslMode::VerifyFull),
        (
            "sslmode=verify-full&sslrootcert=system",
            SslMode::VerifyFull,
        ),
        ("sslrootcert=system", SslMode::VerifyFull),
    ] {
        let endpoint = parse(&format!("postgresql://localhost/app?{parameters}"));
        assert!(endpoint.encryption.mode == mode, "{parameters}");
    }
    assert!(error("hostaddr=127.0.0.1 sslmode=verify-full").contains("`host`"));
}

#[cfg(not(feature = "tls"))]
#[test]
fn without_tls_nothing_that_demands_it_is_accepted() {
    for mode in ["require", "verify-ca", "verify-full"] {
        let text = format!("host=localhost sslmode={mode} sslrootcert=x");
        assert!(error(&text).contains("enable the feature `tls`"), "{text}");
    }
    assert!(error("host=localhost sslrootcert=system").contains("enable the feature `tls`"));
    assert!(error("host=localhost sslcert=x sslkey=y").contains("`sslcert` needs TLS"));
    for mode in ["disable", "allow", "prefer"] {
        parse(&format!("host=localhost sslmode={mode} sslrootcert=x"));
    }
}

#[test]
fn another_database_takes_the_place_of_the_one_that_is_named() {
    for text in [
        "postgresql://me@db/app?dbname=third&sslmode=disable",
        "host=db user=me dbname=app",
        "host=db dbname=app user=me password=",
        "dbname='app' user=me host=db application_name=a\\",
    ] {
        let other = Endpoint::parse(&super::with_database(text, "other")).unwrap();
        let described = "database \"other\" on db:5432 as user \"me\"";
        assert_eq!(other.describe(), described, "{text}");
    }
    assert_eq!(super::with_database("host", "other"), "host");
}
