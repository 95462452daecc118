//! Workers as processes of the real binary, over TCP on loopback.
