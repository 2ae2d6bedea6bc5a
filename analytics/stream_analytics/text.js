// The user-defined function udf.text: a value as the table keeps it. Words are joined by commas, the rest is JSON.
function text(value) {
  "use strict";
  if (value === null || value === undefined) {
    return "";
  }
  const words = Array.isArray(value) && value.every((each) => typeof each === "string");
  return words ? value.join(",") : JSON.stringify(value);
}
