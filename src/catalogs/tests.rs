//! That the catalogs we ship say what the products' tables say, and that a
//! faulty one is refused with all its faults.

mod cells;
mod faults;
mod faults_of_teams;
mod faults_of_words;
mod shipped;
mod teams;
