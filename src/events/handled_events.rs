//! The events that a handler handles: pairs of categories and types.

use crate::error::{Error, Result};
use crate::events::category::{categories, category, check_is_category};
use crate::events::event::Event;
use crate::events::message::{Recorded, RecordedMessage};
use serde::{Deserialize, Serialize};

/// The events that a projection or a reactor handles: the categories and types of each event enum.
///
/// ```
/// use emmett_postgresql::{Event, events::HandledEvents};
/// # use serde::{Deserialize, Serialize};
/// #[derive(Serialize, Deserialize)]
/// enum OrderEvent { Created { customer: String }, Cancelled }
/// impl Event for OrderEvent {
///     const CATEGORY: &'static str = "Order";
/// }
///
/// let handled = HandledEvents::of::<OrderEvent>();
/// assert!(handled.has("Order-1", "Created"));
/// assert!(!handled.has("Invoice-1", "Created"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HandledEvents(Vec<EventSelection>);

/// The handled events of one enum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventSelection {
    /// The path of the event enum.
    pub(crate) event: String,
    #[serde(flatten)]
    pub(crate) selection: Selection,
    /// The types of the enum.
    #[serde(skip)]
    known: Option<Vec<String>>,
    /// The types to which the handler is restricted. The selection also has the former types, which may become these.
    #[serde(skip)]
    only: Option<Vec<String>>,
    #[serde(skip)]
    former: &'static [&'static str],
}

/// Events of these types in streams of these categories; `None` means all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Selection {
    pub(crate) categories: Option<Vec<String>>,
    pub(crate) types: Option<Vec<String>>,
}

impl Selection {
    pub(crate) fn has(&self, stream: &str, message_type: &str) -> bool {
        has_name(self.types.as_ref(), Some(message_type))
            && has_name(self.categories.as_ref(), category(stream))
    }

    /// Whether it includes all events of another selection.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        is_within(other.types.as_ref(), self.types.as_ref())
            && is_within(other.categories.as_ref(), self.categories.as_ref())
    }

    /// Returns the same events as selections of one category and one type each.
    pub(crate) fn parts(&self) -> Vec<Self> {
        let mut parts = Vec::new();
        for category in each(self.categories.as_ref()) {
            for message_type in each(self.types.as_ref()) {
                parts.push(Self {
                    categories: category.map(|name| vec![name.clone()]),
                    types: message_type.map(|name| vec![name.clone()]),
                });
            }
        }
        parts
    }

    /// Returns the same selection in its canonical form.
    fn sorted(mut self) -> Self {
        for names in [&mut self.categories, &mut self.types]
            .into_iter()
            .flatten()
        {
            names.sort_unstable();
            names.dedup();
        }
        self
    }
}

fn has_name(names: Option<&Vec<String>>, name: Option<&str>) -> bool {
    names.is_none_or(|names| name.is_some_and(|name| names.iter().any(|known| known == name)))
}

fn is_within(names: Option<&Vec<String>>, all: Option<&Vec<String>>) -> bool {
    let (Some(names), Some(all)) = (names, all) else {
        return all.is_none();
    };
    names.iter().all(|name| all.contains(name))
}

/// Returns each name; a single `None` if the list means all.
fn each(names: Option<&Vec<String>>) -> Vec<Option<&String>> {
    names.map_or_else(|| vec![None], |names| names.iter().map(Some).collect())
}

impl EventSelection {
    fn of<E: Event>() -> Self {
        Self {
            event: std::any::type_name::<E>().to_owned(),
            selection: Selection {
                categories: categories::<E>(),
                types: E::known_types(),
            },
            known: E::known_types(),
            only: None,
            former: E::FORMER_TYPES,
        }
    }

    fn only_types(&mut self, types: Vec<String>) {
        let mut all = types.clone();
        if !all.is_empty() {
            all.extend(self.former.iter().map(|&name| name.to_owned()));
        }
        self.selection.types = Some(all);
        self.only = Some(types);
    }

    /// Decodes a message for the enum's handler. A former message, unless it was asked for itself, keeps the events of the
    /// types that were.
    pub(crate) fn decode<E: Event>(
        &self,
        message: &RecordedMessage,
    ) -> Result<impl Iterator<Item = Recorded<E>> + use<E>> {
        let only = self.only.as_deref();
        message.decode_types(only.filter(|types| !types.contains(&message.message_type)))
    }

    pub(crate) fn decode_all<E: Event>(
        &self,
        messages: &[&RecordedMessage],
    ) -> Result<Vec<Recorded<E>>> {
        let mut events = Vec::with_capacity(messages.len());
        for message in messages {
            events.extend(self.decode(message)?);
        }
        Ok(events)
    }

    /// Refuses types that the enum does not have and categories that no stream can have: they would never be handled.
    fn check(&self, what: &str) -> Result<()> {
        let mut categories = self.selection.categories.iter().flatten();
        categories.try_for_each(|name| check_is_category(name))?;
        let Some(asked) = &self.selection.types else {
            return Ok(());
        };
        if asked.is_empty() {
            return Err(Error::invalid(
                what,
                "handles no message type: list at least one",
            ));
        }
        let Some(known) = &self.known else {
            return Ok(());
        };
        let unknown: Vec<&String> = asked.iter().filter(|name| !known.contains(name)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let reason = format!(
            "cannot handle {unknown:?}: {} has the types {known:?}",
            self.event
        );
        Err(Error::invalid(what, reason))
    }
}

impl HandledEvents {
    /// Returns the events of an enum: its [types](Event) in its [categories](Event::CATEGORIES).
    pub fn of<E: Event>() -> Self {
        Self(vec![EventSelection::of::<E>()])
    }

    /// Adds the events of another enum.
    #[must_use]
    pub fn and<E: Event>(mut self) -> Self {
        self.add::<E>();
        self
    }

    /// Whether the selection includes messages of this type in this stream.
    pub fn has(&self, stream: &str, message_type: &str) -> bool {
        self.0
            .iter()
            .any(|events| events.selection.has(stream, message_type))
    }

    pub(crate) fn has_message(&self, message: &RecordedMessage) -> bool {
        self.has(&message.stream_name, &message.message_type)
    }

    /// Adds the events of the next handler's enum.
    pub(crate) fn add<E: Event>(&mut self) {
        self.0.push(EventSelection::of::<E>());
    }

    /// Returns the indexes of the handlers (one for each enum) that handle a message. If none does, returns the first: it
    /// reports why it cannot read the message.
    pub(crate) fn handlers_of(&self, message: &RecordedMessage) -> Vec<usize> {
        let (stream, message_type) = (&message.stream_name, &message.message_type);
        let mut indices: Vec<usize> = (0..self.0.len())
            .filter(|index| self.0[*index].selection.has(stream, message_type))
            .collect();
        if indices.is_empty() && !self.0.is_empty() {
            indices.push(0);
        }
        indices
    }

    /// Splits messages into runs for the same handlers. Each handler gets several at once, and all keep their order.
    pub(crate) fn runs<'m>(
        &self,
        messages: &'m [&'m RecordedMessage],
    ) -> Vec<(Vec<usize>, &'m [&'m RecordedMessage])> {
        if let [_] = self.0[..] {
            return vec![(vec![0], messages)];
        }
        let is_same = |one: &&RecordedMessage, next: &&RecordedMessage| {
            self.handlers_of(one) == self.handlers_of(next)
        };
        messages
            .chunk_by(is_same)
            .map(|run| (self.handlers_of(run[0]), run))
            .collect()
    }

    /// Restricts the last added enum to these types, and to former messages that become these.
    pub(crate) fn only_types<S: AsRef<str>>(&mut self, types: &[S]) {
        if let Some(last) = self.0.last_mut() {
            last.only_types(types.iter().map(|name| name.as_ref().to_owned()).collect());
        }
    }

    /// Restricts the last added enum to these categories.
    pub(crate) fn only_categories<S: AsRef<str>>(&mut self, categories: &[S]) {
        if let Some(last) = self.0.last_mut() {
            last.selection.categories = Some(
                categories
                    .iter()
                    .map(|name| name.as_ref().to_owned())
                    .collect(),
            );
        }
    }

    pub(crate) fn selections(&self) -> &[EventSelection] {
        &self.0
    }

    /// Returns the selections without the enums, in their canonical form.
    pub(crate) fn sorted(&self) -> Vec<Selection> {
        let all = self
            .0
            .iter()
            .map(|events| events.selection.clone().sorted());
        let mut all: Vec<Selection> = all.collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Returns the filter for a statement. It matches at least these events, and more if several enums have different
    /// categories.
    pub(crate) fn filter(&self) -> FeedFilter {
        FeedFilter::union(std::iter::once(self))
    }

    /// Refuses a selection that no message can match.
    pub(crate) fn check(&self, what: &str) -> Result<()> {
        if self.0.is_empty() {
            return Err(Error::invalid(what, "handles no events: add a handler"));
        }
        self.0.iter().try_for_each(|events| events.check(what))
    }
}

/// The filter of the feed's statements; `None` means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FeedFilter {
    pub(crate) categories: Option<Vec<String>>,
    pub(crate) types: Option<Vec<String>>,
}

impl FeedFilter {
    /// All messages.
    pub(crate) const ALL: Self = Self {
        categories: None,
        types: None,
    };

    /// Returns the filter for several readers together.
    pub(crate) fn union<'h>(handled: impl Iterator<Item = &'h HandledEvents>) -> Self {
        Self::of(
            handled
                .flat_map(|events| &events.0)
                .map(|events| &events.selection),
        )
    }

    pub(crate) fn of<'s>(selections: impl Iterator<Item = &'s Selection>) -> Self {
        let selections: Vec<&Selection> = selections.collect();
        Self {
            categories: union(selections.iter().map(|events| events.categories.as_ref())),
            types: union(selections.iter().map(|events| events.types.as_ref())),
        }
    }

    pub(crate) fn is_selective(&self) -> bool {
        *self != Self::ALL
    }
}

/// Returns the names of several lists, each once; `None` if one of the lists means all.
fn union<'l>(lists: impl Iterator<Item = Option<&'l Vec<String>>>) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for list in lists {
        names.extend_from_slice(list?);
    }
    names.sort_unstable();
    names.dedup();
    Some(names)
}
