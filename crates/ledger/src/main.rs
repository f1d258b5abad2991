//! The program `ledger`; see `program`.

fn main() -> std::process::ExitCode {
    ledger::program::main()
}
