//! A member from outside: what is acknowledged stays, and space is given back.

mod reclaim;
mod single_member;
