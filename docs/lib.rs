//! The walkthrough's programs, a folder a chapter, text and program side by side, and in `seeds` those of the texts that
//! the project grew from.
//!
//! The chapters are being written; they come one by one, each with its program, which a test builds and runs.
