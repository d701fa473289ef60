//! The cache from outside: every command is a process of its own, so that whatever it knows of the one before it was
//! written down.

mod credentials;
mod du;
mod ls;
mod names;
mod pull;
mod push;
mod roots;
mod serve;
mod signals;
mod support;
mod unpack;
