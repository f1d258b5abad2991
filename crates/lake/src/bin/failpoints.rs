//! The program `lake` with the places at which tests have it die; see `service::failpoint`.

fn main() -> std::process::ExitCode {
    lake::main()
}
