"""`hummingbird serve`: a page on this machine, where strokes on a few images label all others within a second.

Starlette and uvicorn with one page of our own, in HTML, CSS and plain JavaScript on canvas, rather than Gradio:

- Gradio's components know values, not gestures. Pointing at a pixel to see its nearest patches, and strokes that update
  every other image while one paints, would each be a component of our own in its build system (Svelte, npm), which is
  more code than this page.
- Its image editor returns a picture with soft edges. Here, a stroke is its points, and page and server turn it into the
  same labels, pixel by pixel (strokes.py).
- Its queue answers each request. Here, answers that newer strokes have overtaken are dropped, and only the strokes that
  changed are sent.
- Starlette, uvicorn and what they need are 3 MB; Gradio brings pandas, pydantic, FastAPI and forty more, over 100 MB.
  It also offers to share pages over its authors' servers and loads fonts from elsewhere; here nothing leaves the
  machine.

`session` is the state, `store` keeps it on disk, `engine` computes, `routes` answers the page, `guard` keeps others
out.
"""
