//! The transaction of a reactor.

use crate::store::Session;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// The transaction of a reactor, with all methods of a [`Session`].
///
/// The transaction begins on first use and is committed together with the checkpoint. Messages appended in it are
/// caused by the handled message, or by the last message of a batch. Their causation id is the id of that message.
/// Their correlation id is the correlation id of that message, or its id if it has none. Ids given by the appended
/// messages or their options take precedence.
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
