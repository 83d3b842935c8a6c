//! Encrypted connections, with the certificate checks that `sslmode` requires.

use super::connect_error::ConnectError;
use super::sslmode::{ClientCertificate, Encryption, RootCertificates, SslMode};
use native_tls::{Certificate, Identity, TlsConnector, TlsConnectorBuilder};
use parking_lot::Mutex;
use postgres_native_tls::MakeTlsConnector;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Whether a TLS handshake was begun and failed.
pub(super) fn is_handshake_failure(error: &postgres::Error) -> bool {
    error
        .source()
        .is_some_and(<dyn Error>::is::<native_tls::Error>)
}

/// The cached connector of an endpoint: the system's library takes tens of milliseconds to create one.
#[derive(Clone, Default)]
pub(super) struct KeptConnector(Arc<Mutex<Option<(Files, MakeTlsConnector)>>>);

impl KeptConnector {
    /// Reads the files each time, so that the next connection uses a replaced certificate.
    pub(super) fn get(&self, encryption: &Encryption) -> Result<MakeTlsConnector, ConnectError> {
        let files = Files::read(encryption)?;
        let mut kept = self.0.lock();
        if let Some((made_of, connector)) = &*kept
            && *made_of == files
        {
            return Ok(connector.clone());
        }
        let connector = connector(encryption, &files)?;
        *kept = Some((files, connector.clone()));
        Ok(connector)
    }
}

#[derive(PartialEq, Eq)]
struct Files {
    roots: Option<File>,
    client: Option<(File, File)>,
}

impl Files {
    fn read(encryption: &Encryption) -> Result<Self, ConnectError> {
        let client = match &encryption.client_certificate {
            None => None,
            Some(ClientCertificate { certificate, key }) => Some((
                File::read("sslcert", certificate)?,
                File::read("sslkey", key)?,
            )),
        };
        Ok(Self {
            roots: Self::read_roots(encryption)?,
            client,
        })
    }

    fn read_roots(encryption: &Encryption) -> Result<Option<File>, ConnectError> {
        let path = match &encryption.root_certificates {
            RootCertificates::System => return Ok(None),
            RootCertificates::File(path) => path.clone(),
            RootCertificates::InHomeDirectory => root_file_in_home_directory(),
        };
        // As in libpq, an existing root certificate is used in every mode, not only in the modes that need one.
        if path.exists() {
            return File::read("sslrootcert", &path).map(Some);
        }
        if encryption.mode < SslMode::VerifyCa {
            return Ok(None);
        }
        Err(unusable(
            "sslrootcert",
            &path,
            "it does not exist; `sslrootcert=system` uses the system's certificates instead",
        ))
    }
}

#[derive(PartialEq, Eq)]
struct File {
    parameter: &'static str,
    path: PathBuf,
    content: Vec<u8>,
}

impl File {
    fn read(parameter: &'static str, path: &Path) -> Result<Self, ConnectError> {
        let content =
            fs::read(path).map_err(|error| unusable(parameter, path, &error.to_string()))?;
        Ok(Self {
            parameter,
            path: path.to_owned(),
            content,
        })
    }

    fn unusable(&self, problem: &str) -> ConnectError {
        unusable(self.parameter, &self.path, problem)
    }
}

fn unusable(parameter: &'static str, path: &Path, problem: &str) -> ConnectError {
    ConnectError::Certificate {
        parameter,
        path: path.to_owned(),
        problem: problem.to_owned(),
    }
}

fn root_file_in_home_directory() -> PathBuf {
    let directory = if cfg!(windows) {
        std::env::var_os("APPDATA").map(|data| Path::new(&data).join("postgresql"))
    } else {
        std::env::home_dir().map(|home| home.join(".postgresql"))
    };
    directory.unwrap_or_default().join("root.crt")
}

fn connector(encryption: &Encryption, files: &Files) -> Result<MakeTlsConnector, ConnectError> {
    let mut builder = TlsConnector::builder();
    match &files.roots {
        Some(roots) => {
            trust_only(&mut builder, roots)?;
            builder.danger_accept_invalid_hostnames(encryption.mode != SslMode::VerifyFull);
        }
        None if encryption.mode < SslMode::VerifyCa => {
            builder
                .danger_accept_invalid_certs(true)
                .danger_accept_invalid_hostnames(true);
        }
        // The builder's default: the system's certificates, and a check of the host's name.
        None => {}
    }
    if let Some((certificate, key)) = &files.client {
        builder.identity(identity(certificate, key)?);
    }
    let connector = builder.build().map_err(|error| ConnectError::Tls {
        problem: error.to_string(),
    })?;
    Ok(MakeTlsConnector::new(connector))
}

fn trust_only(builder: &mut TlsConnectorBuilder, roots: &File) -> Result<(), ConnectError> {
    let certificates = Certificate::stack_from_pem(&roots.content).unwrap_or_default();
    if certificates.is_empty() {
        return Err(roots.unusable("it contains no certificate in PEM format"));
    }
    builder.disable_built_in_roots(true);
    for certificate in certificates {
        builder.add_root_certificate(certificate);
    }
    Ok(())
}

fn identity(certificate: &File, key: &File) -> Result<Identity, ConnectError> {
    let pem = key.content.trim_ascii();
    if !pem.starts_with(b"-----BEGIN PRIVATE KEY-----") {
        let problem = "it contains no unencrypted PKCS#8 key in PEM format; `openssl pkcs8 -topk8 -nocrypt` converts other keys";
        return Err(key.unusable(problem));
    }
    Identity::from_pkcs8(&certificate.content, pem)
        .map_err(|error| certificate.unusable(&error.to_string()))
}
