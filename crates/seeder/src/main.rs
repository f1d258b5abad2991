//! The program `seeder`; see `program`.

fn main() -> std::process::ExitCode {
    seeder::program::main()
}
