//! Black box: the built program, real sockets, other people's clients and servers.

mod end_to_end;
mod shutdown;
