//! What the engine decides, seen from outside: each rule of the design as a property, over a store
//! that answers at once. Slow stores, crashes and lost answers are the simulator's.

mod desk;

mod arbitrary;
mod endings;
mod isolation;
mod memory;
mod reference;
mod rounds;
mod turns;
