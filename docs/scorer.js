// What a search shows first: pages that say how, then pages that say what came out, then lessons, and functions last.
var PLACES = [["guide/", 60], ["tutorials/", 40], ["index", 30], ["analysis/", 10], ["api", -20], ["guide/own", 12], ["guide/wrong", -45]];
var Scorer = {
  score: ([docname, title, anchor, descr, score]) =>
    score + PLACES.reduce((sum, [place, more]) => sum + (docname.startsWith(place) ? more : 0), 0),
  objNameMatch: 11, objPartialMatch: 6, objPrio: {0: 15, 1: 5, 2: -5}, objPrioDefault: 0,
  title: 15, partialTitle: 7, term: 5, partialTerm: 2,
};
