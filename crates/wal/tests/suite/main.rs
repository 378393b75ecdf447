//! Tests of the log through its public interface.

mod damage;
mod faults;
mod mark;
mod scripts;
mod support;
