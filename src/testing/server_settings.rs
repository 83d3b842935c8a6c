use super::directory::Directory;
use std::io;

const NOT_DURABLE: [&str; 3] = ["fsync", "synchronous_commit", "full_page_writes"];

/// Settings of a throwaway server.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerSettings {
    pub(super) localhost: bool,
    pub(super) durable: bool,
    pub(super) certificate_and_key: Option<(String, String)>,
    /// Parameters of `postgresql.conf` set by the caller. The last value of a name counts.
    pub(super) chosen: Vec<(String, String)>,
}

impl ServerSettings {
    pub(super) fn write_files(&self, directory: &Directory, port: u16) -> io::Result<()> {
        if let Some((certificate, key)) = &self.certificate_and_key {
            directory.write("server.crt", certificate)?;
            directory.write("server.key", key)?;
        }
        let settings = self.all_settings(&directory.path().to_string_lossy(), port);
        let lines = settings
            .iter()
            .map(|(name, value)| format!("{name} = '{}'\n", escape(value)));
        directory.write("settings", &lines.collect::<String>())
    }

    fn all_settings(&self, directory: &str, port: u16) -> Vec<(String, String)> {
        let port = port.to_string();
        let addresses = if self.localhost { "127.0.0.1" } else { "" };
        let mut settings = vec![
            ("unix_socket_directories", directory),
            ("listen_addresses", addresses),
            ("port", &port),
            ("max_connections", "200"),
        ];
        if !self.durable {
            settings.extend(NOT_DURABLE.map(|name| (name, "off")));
        }
        if self.certificate_and_key.is_some() {
            settings.extend([
                ("ssl", "on"),
                ("ssl_cert_file", "../server.crt"),
                ("ssl_key_file", "../server.key"),
            ]);
        }
        let chosen = self.chosen.iter().cloned();
        settings
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .chain(chosen)
            .collect()
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', r"\\").replace('\'', "''")
}
