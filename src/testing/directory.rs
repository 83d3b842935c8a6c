use std::{
    collections::hash_map::RandomState,
    env, fs,
    hash::BuildHasher,
    io::{self, Write},
    os::unix::{
        fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
};

/// A longer path leaves no room for the name of the socket. An address has 104 bytes on macOS, and
/// 108 on Linux.
const LONGEST_BASE: usize = 60;

/// Directory of a throwaway server. Only its owner can read it, and dropping the value removes it.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    owner: Option<Account>,
}

/// The account of the server, if it differs from the user of this process.
#[derive(Debug)]
struct Account {
    user: u32,
    group: u32,
}

impl Directory {
    pub(super) fn create() -> io::Result<Self> {
        let owner = Account::of_the_server()?;
        let name = format!("emmett-{:016x}", random_number());
        let path = base(owner.is_some()).join(name);
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        let directory = Self { path, owner };
        directory.give_to_owner(&directory.path)?;
        Ok(directory)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn write(&self, file: &str, text: &str) -> io::Result<()> {
        let path = self.path.join(file);
        let mut private = fs::OpenOptions::new();
        private.write(true).create_new(true).mode(0o600);
        private.open(&path)?.write_all(text.as_bytes())?;
        self.give_to_owner(&path)
    }

    /// Returns a command that runs in this directory as its owner, and that Ctrl-C does not interrupt.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.path).process_group(0);
        if let Some(Account { user, group }) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }

    fn give_to_owner(&self, path: &Path) -> io::Result<()> {
        self.owner.as_ref().map_or(Ok(()), |owner| {
            chown(path, Some(owner.user), Some(owner.group))
        })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.path));
    }
}

impl Account {
    /// Returns an account other than root, as which PostgreSQL refuses to run.
    fn of_the_server() -> io::Result<Option<Self>> {
        if !is_root()? {
            return Ok(None);
        }
        let accounts = fs::read_to_string("/etc/passwd")?;
        let find = |name| accounts.lines().find_map(|line| Self::parse(line, name));
        let missing = || io::Error::other("/etc/passwd has neither postgres nor nobody");
        find("postgres")
            .or_else(|| find("nobody"))
            .ok_or_else(missing)
            .map(Some)
    }

    fn parse(line: &str, name: &str) -> Option<Self> {
        let mut fields = line.split(':');
        let (found, _password) = (fields.next()?, fields.next()?);
        let (user, group) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (found == name).then_some(Self { user, group })
    }
}

pub(super) fn random_number() -> u64 {
    RandomState::new().hash_one(())
}

fn is_root() -> io::Result<bool> {
    let id = Command::new("id").arg("-u").output()?;
    Ok(id.stdout.trim_ascii() == b"0")
}

/// Returns the temporary directory, or `/tmp` if the server could not run there.
fn base(other_owner: bool) -> PathBuf {
    let temporary = env::temp_dir();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    let name = temporary.as_os_str().as_encoded_bytes();
    let usable =
        temporary.is_absolute() && name.len() <= LONGEST_BASE && name.iter().copied().all(plain);
    if usable && (!other_owner || temporary.ancestors().all(everyone_may_enter)) {
        return temporary;
    }
    PathBuf::from("/tmp")
}

fn everyone_may_enter(directory: &Path) -> bool {
    directory
        .metadata()
        .is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0)
}
