//! A member from outside: what is acknowledged stays, and space is given back.

mod damage;
mod failing_disk;
mod first_entries;
mod full_disk;
mod known_bugs;
mod leases;
mod logged;
mod member;
mod quota;
mod reclaim;
mod refused_starts;
mod scrub;
mod single_member;
mod stuck_disk;
mod unwritten;
