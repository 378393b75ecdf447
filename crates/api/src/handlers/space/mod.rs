//! Bowline's own service: what fills the store, and what may.

pub(crate) mod budget;
mod top;

pub(crate) use top::top;
