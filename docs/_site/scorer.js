/* How the search ranks: Sphinx's own weights; what a word means comes first among equals, a decision after the page that it gives reasons for. */
"use strict";

var Scorer = {
    score: ([page, , , , score]) => score + (page === "words" ? 1 : page.startsWith("decisions/") ? -3 : 0),
    objNameMatch: 11,
    objPartialMatch: 6,
    objPrio: { 0: 15, 1: 5, 2: -5 },
    objPrioDefault: 0,
    title: 15,
    partialTitle: 7,
    term: 5,
    partialTerm: 2,
};
