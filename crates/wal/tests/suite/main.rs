//! Tests of the log through its public interface.

mod damage;
mod scripts;
mod support;
