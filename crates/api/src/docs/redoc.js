// Draws the page, with the fonts that are there.
const sans = "system-ui, sans-serif";
Redoc.init(
  "openapi.json",
  {
    hideLoading: true,
    theme: {
      typography: {
        fontFamily: sans,
        headings: { fontFamily: sans },
        code: { fontFamily: "ui-monospace, monospace" },
      },
    },
  },
  document.getElementById("redoc"),
);
