//! The program `s3-sink`; the library is all of it, so that crate `bundle` can hold it too.

fn main() -> std::process::ExitCode {
    s3_sink::main()
}
