//! Encryption settings of a connection string.

use super::connection_string::{ConnectionStringError, Parameters, invalid_value};
use std::path::PathBuf;

/// The modes in PostgreSQL's manual, from the weakest to the strictest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SslMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl SslMode {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "disable" => Self::Disable,
            "allow" => Self::Allow,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return None,
        })
    }
}

/// Root certificates that verify a server's certificate.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum RootCertificates {
    /// `~/.postgresql/root.crt`.
    InHomeDirectory,
    File(PathBuf),
    System,
}

#[derive(Clone)]
#[cfg_attr(
    not(feature = "tls"),
    expect(dead_code, reason = "without TLS it is only validated")
)]
pub(super) struct ClientCertificate {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

#[derive(Clone)]
#[cfg_attr(
    not(feature = "tls"),
    expect(dead_code, reason = "without TLS it is only validated")
)]
pub(super) struct Encryption {
    pub(super) mode: SslMode,
    pub(super) root_certificates: RootCertificates,
    pub(super) client_certificate: Option<ClientCertificate>,
}

impl Encryption {
    pub(super) fn take_from(parameters: &mut Parameters) -> Result<Self, ConnectionStringError> {
        let root_certificates = match parameters.take_filled("sslrootcert") {
            None => RootCertificates::InHomeDirectory,
            Some(name) if name == "system" => RootCertificates::System,
            Some(name) => RootCertificates::File(name.into()),
        };
        let is_system = root_certificates == RootCertificates::System;
        let mode = match parameters.take("sslmode") {
            Some(text) => SslMode::parse(&text).ok_or_else(|| invalid_value("sslmode"))?,
            None if is_system => SslMode::VerifyFull,
            None => SslMode::Prefer,
        };
        if is_system && mode != SslMode::VerifyFull {
            return Err(ConnectionStringError::Contradiction {
                reason: "`sslrootcert=system` needs `sslmode=verify-full`",
            });
        }
        let client_certificate = take_client_certificate(parameters)?;
        if cfg!(not(feature = "tls")) {
            refuse_demands(mode, client_certificate.as_ref())?;
        }
        Ok(Self {
            mode,
            root_certificates,
            client_certificate,
        })
    }
}

/// Refuses settings that cannot be met without TLS.
fn refuse_demands(
    mode: SslMode,
    certificate: Option<&ClientCertificate>,
) -> Result<(), ConnectionStringError> {
    if mode >= SslMode::Require {
        return Err(ConnectionStringError::NoTlsSupport {
            parameter: "sslmode",
        });
    }
    match certificate {
        Some(_) => Err(ConnectionStringError::NoTlsSupport {
            parameter: "sslcert",
        }),
        None => Ok(()),
    }
}

fn take_client_certificate(
    parameters: &mut Parameters,
) -> Result<Option<ClientCertificate>, ConnectionStringError> {
    match (
        parameters.take_filled("sslcert"),
        parameters.take_filled("sslkey"),
    ) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some(ClientCertificate {
            certificate: certificate.into(),
            key: key.into(),
        })),
        _ => Err(ConnectionStringError::Contradiction {
            reason: "`sslcert` and `sslkey` belong together: set both",
        }),
    }
}
