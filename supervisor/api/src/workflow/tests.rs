mod mistakes;

mod whole;
