//! Slots of processors and their parked messages: each transition of the drawings in the documentation.

mod drawings;
mod emmett;
mod fixtures;
mod parked_transitions;
mod slot_transitions;
