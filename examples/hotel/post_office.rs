//! The post office of the story, in the place of a mail server.

use crate::mails::Letter;
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

pub(crate) struct PostOffice {
    reaches_far: AtomicBool,
    /// Ids of the letters: one that is delivered again, after a crash, is not sent again.
    accepted: Mutex<HashSet<String>>,
    sent: Sender<Letter>,
}

impl PostOffice {
    /// Opens a post office that does not reach `faraway.example` yet. Returns the letters that it sends, too.
    pub(crate) fn open() -> (Self, Receiver<Letter>) {
        let (sent, letters) = channel();
        let office = Self {
            reaches_far: AtomicBool::new(false),
            accepted: Mutex::default(),
            sent,
        };
        (office, letters)
    }

    pub(crate) fn mend(&self) {
        self.reaches_far.store(true, Ordering::Relaxed);
    }

    pub(crate) fn send(&self, letter: Letter) -> anyhow::Result<()> {
        let is_far = letter.guest.email.ends_with("@faraway.example");
        let reaches_far = self.reaches_far.load(Ordering::Relaxed);
        anyhow::ensure!(reaches_far || !is_far, "faraway.example does not answer");
        let mut accepted = self.accepted.lock().expect("no panic under the lock");
        if accepted.insert(letter.id.clone()) {
            self.sent.send(letter)?;
        }
        Ok(())
    }
}
