//! Tests of consensus through its public interface, over members whose disk and network are memory.

mod cluster;
mod known_bugs;
mod random_runs;
mod scripts;
