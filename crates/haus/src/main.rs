//! The program `haus`; the library is all of it, so that crate `bundle` can hold it too.

fn main() -> std::process::ExitCode {
    haus::main()
}
