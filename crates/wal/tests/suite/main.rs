//! Tests of the log through its public interface.

mod damage;
mod faults;
mod scripts;
mod support;
