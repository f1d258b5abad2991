//! Tests over the real binaries, and over the workspace as a whole. All of it is in `tests/`.
