//! The program `s3-sink` with the places at which tests have it die; see `service::failpoint`.

fn main() -> std::process::ExitCode {
    s3_sink::main()
}
