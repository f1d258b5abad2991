//! The program `object-server`; the library is all of it, so that crate `bundle` can hold it too.

fn main() -> std::process::ExitCode {
    object_server::main()
}
