//! Each `sslmode` accepts the same servers as PostgreSQL's own programs.

use emmett_postgresql::{EventStore, testing::Server};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, process};

fn connect(url: &str) -> Result<(), String> {
    let opened = EventStore::builder(url).open();
    opened
        .map(drop)
        .map_err(|error| format!("{:#}", anyhow::Error::new(error)))
}

const MODES: [&str; 6] = [
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];
pub(crate) const TRUST: &str = "local all all trust\nhost all all all trust\n";
const TRUST_WITH_TLS: &str = "local all all trust\nhostssl all all all trust\n";
const TRUST_WITHOUT_TLS: &str = "local all all trust\nhostnossl all all all trust\n";
const TRUST_CLIENT_CERTIFICATES: &str = "local all all trust\nhostssl all all all cert\n";

#[test]
fn a_server_without_tls_is_refused_by_the_modes_that_require_it() -> anyhow::Result<()> {
    let authority = Authority::new("without");
    let server = Server::builder().listen_on_localhost().start()?;
    let accepted = accepted_modes(&server, &authority.certificate());
    assert_eq!(accepted, ["disable", "allow", "prefer"]);
    Ok(())
}

#[test]
fn a_good_certificate_is_accepted_by_every_mode() -> anyhow::Result<()> {
    let authority = Authority::new("good");
    let server = authority.server("localhost", 5, TRUST)?;
    assert_eq!(accepted_modes(&server, &authority.certificate()), MODES);
    Ok(())
}

#[test]
fn the_name_in_the_certificate_counts_only_for_verify_full() -> anyhow::Result<()> {
    let authority = Authority::new("name");
    let server = authority.server("elsewhere.example", 5, TRUST)?;
    assert_eq!(
        accepted_modes(&server, &authority.certificate()),
        MODES[..5]
    );
    Ok(())
}

#[test]
fn a_certificate_of_another_authority_is_refused_where_a_root_certificate_is_there()
-> anyhow::Result<()> {
    let (authority, other) = (Authority::new("mine"), Authority::new("other"));
    let server = other.server("localhost", 5, TRUST)?;
    let without_encryption = ["disable", "allow", "prefer"];
    assert_eq!(
        accepted_modes(&server, &authority.certificate()),
        without_encryption
    );
    Ok(())
}

#[test]
fn an_expired_certificate_is_refused_where_a_root_certificate_is_there() -> anyhow::Result<()> {
    let authority = Authority::new("expired");
    let server = authority.server("localhost", 0, TRUST)?;
    let without_encryption = ["disable", "allow", "prefer"];
    assert_eq!(
        accepted_modes(&server, &authority.certificate()),
        without_encryption
    );
    Ok(())
}

#[test]
fn without_a_root_certificate_only_the_modes_that_verify_refuse() -> anyhow::Result<()> {
    let authority = Authority::new("absent");
    let server = authority.server("elsewhere.example", 0, TRUST)?;
    assert_eq!(
        accepted_modes(&server, &authority.directory.join("absent.crt")),
        MODES[..4]
    );
    Ok(())
}

#[test]
fn every_certificate_of_a_bundle_is_trusted() -> anyhow::Result<()> {
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let server = second.server("localhost", 5, TRUST)?;
    let bundle = first.directory.join("bundle.crt");
    let both =
        fs::read_to_string(first.certificate())? + &fs::read_to_string(second.certificate())?;
    fs::write(&bundle, format!("# Two authorities.\n{both}"))?;
    assert_eq!(accepted_modes(&server, &bundle), MODES);
    Ok(())
}

#[test]
fn allow_and_prefer_use_tls_where_the_server_insists() -> anyhow::Result<()> {
    let authority = Authority::new("insists");
    let server = authority.server("localhost", 5, TRUST_WITH_TLS)?;
    assert_eq!(
        accepted_modes(&server, &authority.certificate()),
        MODES[1..]
    );
    Ok(())
}

#[test]
fn allow_and_prefer_do_without_tls_where_the_server_insists() -> anyhow::Result<()> {
    let authority = Authority::new("plain");
    let server = authority.server("localhost", 5, TRUST_WITHOUT_TLS)?;
    assert_eq!(
        accepted_modes(&server, &authority.certificate()),
        MODES[..3]
    );
    Ok(())
}

#[test]
fn the_authorities_of_the_system_do_not_vouch_for_a_certificate_of_ours() -> anyhow::Result<()> {
    let authority = Authority::new("system");
    let server = authority.server("localhost", 5, TRUST)?;
    let refused = connect(&url(&server, "sslrootcert=system"));
    assert!(refused.is_err_and(|error| error.contains("certificate")));
    Ok(())
}

#[test]
fn a_socket_needs_no_tls_in_any_mode() -> anyhow::Result<()> {
    let server = Server::start()?;
    for mode in MODES {
        let url = format!(
            "{}&sslmode={mode}&sslrootcert=/absent.crt",
            server.url("postgres")
        );
        assert_eq!(connect(&url), Ok(()), "{mode}");
    }
    Ok(())
}

#[test]
fn a_client_certificate_opens_the_door() -> anyhow::Result<()> {
    let authority = Authority::new("client");
    let server = authority.server("localhost", 5, TRUST_CLIENT_CERTIFICATES)?;
    let (certificate, key) = authority.issue("postgres", "client.example", 5);
    let root = authority.certificate();
    let strict = format!("sslmode=verify-full&sslrootcert={}", root.display());
    let files = format!("sslcert={}&sslkey={}", certificate.display(), key.display());
    assert_eq!(connect(&url(&server, &format!("{strict}&{files}"))), Ok(()));
    let refused = connect(&url(&server, &strict));
    assert!(refused.is_err_and(|error| error.contains("valid client certificate")));
    Ok(())
}

#[test]
fn a_key_that_cannot_be_read_is_named_and_not_shown() -> anyhow::Result<()> {
    let authority = Authority::new("key");
    let server = authority.server("localhost", 5, TRUST)?;
    let (certificate, key) = authority.issue("postgres", "client.example", 5);
    let secret = fs::read_to_string(&key)?;
    fs::write(&key, secret.replace(" PRIVATE KEY", " RSA PRIVATE KEY"))?;
    let files = format!("sslcert={}&sslkey={}", certificate.display(), key.display());
    let refused = connect(&url(&server, &format!("sslmode=require&{files}"))).unwrap_err();
    assert!(
        refused.contains("`sslkey`") && refused.contains("PKCS#8"),
        "{refused}"
    );
    assert!(
        secret.lines().skip(1).all(|line| !refused.contains(line)),
        "{refused}"
    );
    Ok(())
}

#[test]
fn a_replaced_root_certificate_counts_from_the_next_store_on() -> anyhow::Result<()> {
    let (authority, other) = (Authority::new("old"), Authority::new("new"));
    let server = other.server("localhost", 5, TRUST)?;
    let strict = format!(
        "sslmode=verify-ca&sslrootcert={}",
        authority.certificate().display()
    );
    assert!(connect(&url(&server, &strict)).is_err());
    fs::copy(other.certificate(), authority.certificate())?;
    assert_eq!(connect(&url(&server, &strict)), Ok(()));
    Ok(())
}

fn accepted_modes(server: &Server, root: &Path) -> Vec<&'static str> {
    let accepts = |mode: &&str| {
        let parameters = format!("sslmode={mode}&sslrootcert={}", root.display());
        connect(&url(server, &parameters)).is_ok()
    };
    MODES.into_iter().filter(accepts).collect()
}

fn url(server: &Server, parameters: &str) -> String {
    let url = server
        .localhost_url("postgres")
        .expect("the server listens on localhost");
    format!("{url}?{parameters}")
}

/// A certificate authority, in a directory that is removed with it.
pub(crate) struct Authority {
    directory: PathBuf,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let directory = env::temp_dir().join(format!("emmett-tls-{}-{name}", process::id()));
        fs::create_dir_all(&directory).unwrap();
        let authority = Self { directory };
        authority.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout root.key -out root.crt \
             -days 5 -subj /CN=root -addext basicConstraints=critical,CA:TRUE",
        );
        authority
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.directory.join("root.crt")
    }

    /// A server whose certificate is for this host; with 0 days it has expired.
    pub(crate) fn server(
        &self,
        host: &str,
        days: u32,
        host_based_authentication: &str,
    ) -> anyhow::Result<Server> {
        let (certificate, key) = self.issue("server", host, days);
        let rules = self.directory.join("pg_hba.conf");
        fs::write(&rules, host_based_authentication)?;
        let server = Server::builder()
            .ssl(&fs::read_to_string(certificate)?, &fs::read_to_string(key)?)
            .setting("ssl_ca_file", &self.certificate().to_string_lossy())
            .setting("hba_file", &rules.to_string_lossy())
            .start()?;
        Ok(server)
    }

    /// The files of a certificate and its key.
    pub(crate) fn issue(&self, common_name: &str, host: &str, days: u32) -> (PathBuf, PathBuf) {
        let extensions = format!("subjectAltName=DNS:{host}\nbasicConstraints=CA:FALSE\n");
        fs::write(self.directory.join("extensions"), extensions).unwrap();
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {common_name}.key \
             -out {common_name}.csr -subj /CN={common_name}"
        ));
        self.openssl(&format!(
            "x509 -req -in {common_name}.csr -CA root.crt -CAkey root.key -CAcreateserial \
             -out {common_name}.crt -days {days} -extfile extensions"
        ));
        let file = |extension: &str| self.directory.join(format!("{common_name}.{extension}"));
        (file("crt"), file("key"))
    }

    fn openssl(&self, arguments: &str) {
        let mut program = Command::new("openssl");
        program
            .args(arguments.split_whitespace())
            .current_dir(&self.directory);
        let output = program.output().expect("the program `openssl`");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments}: {complaint}");
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.directory));
    }
}
