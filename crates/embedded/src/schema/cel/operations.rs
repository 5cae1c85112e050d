//! The operators on two values.

use std::rc::Rc;

use kube_cel::cel::common::ast::operators;

use super::{
    functions::{self, Error},
    value::Val,
};

/// Whether an operator takes two values, whatever these are.
pub(super) fn is_binary(operator: &str) -> bool {
    [
        operators::ADD,
        operators::SUBSTRACT,
        operators::MULTIPLY,
        operators::DIVIDE,
        operators::MODULO,
        operators::EQUALS,
        operators::NOT_EQUALS,
        operators::LESS,
        operators::LESS_EQUALS,
        operators::GREATER,
        operators::GREATER_EQUALS,
        operators::IN,
    ]
    .contains(&operator)
}

/// Adds, subtracts, multiplies, divides, or finds the remainder.
pub(super) fn arithmetic<'a>(
    operator: &str,
    left: &Val<'a>,
    right: &Val<'a>,
) -> Result<Val<'a>, Error> {
    match (left, right) {
        (Val::Int(left), Val::Int(right)) => whole(operator, i128::from(*left), i128::from(*right))
            .and_then(|result| i64::try_from(result).map(Val::Int).map_err(|_| overflow())),
        (Val::UInt(left), Val::UInt(right)) => {
            whole(operator, i128::from(*left), i128::from(*right))
                .and_then(|result| u64::try_from(result).map(Val::UInt).map_err(|_| overflow()))
        }
        (Val::Double(first), Val::Double(second)) => match operator {
            operators::ADD => Ok(Val::Double(first + second)),
            operators::SUBSTRACT => Ok(Val::Double(first - second)),
            operators::MULTIPLY => Ok(Val::Double(first * second)),
            operators::DIVIDE => Ok(Val::Double(first / second)),
            _ => Err(Error::overload(operator, &[left, right])),
        },
        (Val::Text(first), Val::Text(second)) if operator == operators::ADD => {
            Ok(Val::text(format!("{first}{second}")))
        }
        (Val::Bytes(first), Val::Bytes(second)) if operator == operators::ADD => {
            Ok(Val::Bytes([&first[..], &second[..]].concat().into()))
        }
        (Val::List(_) | Val::Items(..), Val::List(_) | Val::Items(..))
            if operator == operators::ADD =>
        {
            let both = left.elements().into_iter().chain(right.elements()).flatten();
            Ok(Val::List(Rc::new(both.collect())))
        }
        (Val::Other(_), _) | (_, Val::Other(_)) => functions::arithmetic(operator, left, right),
        _ => Err(Error::overload(operator, &[left, right])),
    }
}

fn overflow() -> Error {
    Error::failed("integer overflow")
}

/// Whole numbers of 64 bits never leave 128 bits here.
fn whole(operator: &str, left: i128, right: i128) -> Result<i128, Error> {
    match (operator, right) {
        (operators::DIVIDE, 0) => Err(Error::failed("division by zero")),
        (operators::MODULO, 0) => Err(Error::failed("modulus by zero")),
        (operators::ADD, right) => Ok(left + right),
        (operators::SUBSTRACT, right) => Ok(left - right),
        (operators::MULTIPLY, right) => left.checked_mul(right).ok_or_else(overflow),
        (operators::DIVIDE, right) => Ok(left / right),
        (_, right) => Ok(left % right),
    }
}
