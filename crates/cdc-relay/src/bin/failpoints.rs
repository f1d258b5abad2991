//! The program `cdc-relay` with the places at which tests have it die; see `service::failpoint`.

fn main() -> std::process::ExitCode {
    cdc_relay::program::main()
}
