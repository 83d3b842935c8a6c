//! Encrypted connections, with the checks of a certificate that `sslmode` asks for.

use super::ConnectError;
use super::sslmode::{ClientCertificate, Encryption, RootCertificates, SslMode};
use native_tls::{Certificate, Identity, TlsConnector};
use postgres_native_tls::MakeTlsConnector;
use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Whether TLS was begun and failed.
pub(super) fn is_handshake_failure(error: &postgres::Error) -> bool {
    error
        .source()
        .is_some_and(<dyn std::error::Error>::is::<native_tls::Error>)
}

/// The certificates that are accepted.
enum Trust {
    Any,
    System,
    SignedBy(Vec<Certificate>),
}

/// Built for each connection, so that a replaced file counts from the next connection on.
pub(super) fn connector(encryption: &Encryption) -> Result<MakeTlsConnector, ConnectError> {
    let mut builder = TlsConnector::builder();
    match trust(encryption)? {
        Trust::Any => {
            builder
                .danger_accept_invalid_certs(true)
                .danger_accept_invalid_hostnames(true);
        }
        Trust::System => {}
        Trust::SignedBy(roots) => {
            builder
                .disable_built_in_roots(true)
                .danger_accept_invalid_hostnames(encryption.mode != SslMode::VerifyFull);
            for root in roots {
                builder.add_root_certificate(root);
            }
        }
    }
    if let Some(client_certificate) = &encryption.client_certificate {
        builder.identity(identity(client_certificate)?);
    }
    let connector = builder.build().map_err(|error| ConnectError::Tls {
        problem: error.to_string(),
    })?;
    Ok(MakeTlsConnector::new(connector))
}

fn trust(encryption: &Encryption) -> Result<Trust, ConnectError> {
    let path = match &encryption.root_certificates {
        RootCertificates::System => return Ok(Trust::System),
        RootCertificates::File(path) => path.clone(),
        RootCertificates::InHomeDirectory => root_file_in_home_directory(),
    };
    // As in libpq, a root certificate that is there is used in every mode, not only in those that need it.
    if encryption.mode < SslMode::VerifyCa && !path.exists() {
        return Ok(Trust::Any);
    }
    let pem = read("sslrootcert", &path)?;
    let roots = Certificate::stack_from_pem(&pem).unwrap_or_default();
    if roots.is_empty() {
        return Err(unusable(
            "sslrootcert",
            &path,
            "it holds no certificate in PEM",
        ));
    }
    Ok(Trust::SignedBy(roots))
}

fn root_file_in_home_directory() -> PathBuf {
    let directory = if cfg!(windows) {
        std::env::var_os("APPDATA").map(|data| Path::new(&data).join("postgresql"))
    } else {
        std::env::home_dir().map(|home| home.join(".postgresql"))
    };
    directory.unwrap_or_default().join("root.crt")
}

fn identity(client: &ClientCertificate) -> Result<Identity, ConnectError> {
    let certificate = read("sslcert", &client.certificate)?;
    let key = read("sslkey", &client.key)?;
    let key = key.trim_ascii();
    if !key.starts_with(b"-----BEGIN PRIVATE KEY-----") {
        let problem = "it holds no unencrypted PKCS#8 key in PEM; \
                       `openssl pkcs8 -topk8 -nocrypt` converts other keys";
        return Err(unusable("sslkey", &client.key, problem));
    }
    Identity::from_pkcs8(&certificate, key)
        .map_err(|error| unusable("sslcert", &client.certificate, &error.to_string()))
}

fn read(parameter: &'static str, path: &Path) -> Result<Vec<u8>, ConnectError> {
    fs::read(path).map_err(|error| unusable(parameter, path, &error.to_string()))
}

fn unusable(parameter: &'static str, path: &Path, problem: &str) -> ConnectError {
    ConnectError::Certificate {
        parameter,
        path: path.to_owned(),
        problem: problem.to_owned(),
    }
}
