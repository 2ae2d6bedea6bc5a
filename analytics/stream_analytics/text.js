// The user-defined function udf.text: a value as the table stores it. Lists of strings are joined by commas; the rest is JSON.
function text(value) {
  "use strict";
  if (value === null || value === undefined) {
    return "";
  }
  const words = Array.isArray(value) && value.every((each) => typeof each === "string");
  return words ? value.join(",") : JSON.stringify(value);
}
