//! What the code of a reactor gets beside its message.

use crate::store::Session;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// What a reactor can do beside its side effects: all that a [`Session`] can.
///
/// It is one transaction, which begins when it is first used and is committed together with the checkpoint. What is appended
/// in it has the message that is handled (of a batch, its last one) as its cause: its causation id is that message's id, its
/// correlation id that message's, or its id where it has none. Ids that the messages or their options have count more.
pub struct ReactorContext<'a> {
    session: Session<'a>,
}

impl fmt::Debug for ReactorContext<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ReactorContext")
            .field("session", &self.session)
            .finish()
    }
}

impl<'a> Deref for ReactorContext<'a> {
    type Target = Session<'a>;

    fn deref(&self) -> &Session<'a> {
        &self.session
    }
}

impl<'a> DerefMut for ReactorContext<'a> {
    fn deref_mut(&mut self) -> &mut Session<'a> {
        &mut self.session
    }
}

impl<'a> ReactorContext<'a> {
    pub(super) fn new(session: Session<'a>) -> Self {
        Self { session }
    }
}
