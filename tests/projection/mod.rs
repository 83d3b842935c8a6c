//! Read models that are kept in the transaction of the append.

mod inline_projections;
mod several_enums;
