"""The web app, `self1e web`: a page on which one shows a picture, says what to find, and sees it.

    models   what answers: a `Segmenter` of this process, or a server
    state    what one page knows: its picture, masks, talk and history
    views    what is seen and downloaded, drawn and written by the library's own writers
    why      the method at work, as maps of a mask
    markup   the parts of the page as HTML
    style    how it looks (page.css) and what the browser does by itself (page.js)
    app      all of it as a Gradio app

No picture is ever written to a disk, and nothing of pictures and prompts is logged.
"""
