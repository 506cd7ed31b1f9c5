//! The list of all facts, once, from which both the table and the adapters' tests are made.

/// The facts: `table` gives the table of checks, `tests, open, Lives` one test for each.
#[doc(hidden)]
#[macro_export]
macro_rules! contract_facts {
    ($way:ident $(, $open:ident, $lives:ident)?) => {
        $crate::contract_facts! { @$way $($open $lives)?;
            accepting {
                an_accepted_event_can_be_read
            }
        }
    };
    (@table; $($area:ident { $($fact:ident)* })*) => {
        &[$($((
            stringify!($area),
            stringify!($fact),
            |fixture| Box::pin($area::$fact(fixture)),
        ),)*)*]
    };
    (@tests $open:ident $lives:ident; $($area:ident { $($fact:ident)* })*) => {
        $(mod $area {$(
            #[test]
            fn $fact() {
                let (subject, lives) = (super::super::$open(), $crate::contract::Lives::$lives);
                $crate::contract::hold(stringify!($area), stringify!($fact), subject, lives);
            }
        )*})*
    };
}
