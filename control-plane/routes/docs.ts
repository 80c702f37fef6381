import { router } from './environment.ts'

/** A page to read and try the API; its script and style come from this server (`/docs/assets/`), nothing from elsewhere. */
const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Slipway API</title>
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/page.js"></script>
</body>
</html>
`
const SCRIPT = `SwaggerUIBundle({ url: '/openapi.json', dom_id: '#page', deepLinking: true, persistAuthorization: false })\n`
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"

/** The files of swagger-ui-dist that the page needs: Node reads them from node_modules, workerd has them as static assets. */
export const DOCS_ASSETS = ['swagger-ui.css', 'swagger-ui-bundle.js'] as const

export function docsRoutes() {
  const routes = router()
  routes.get('/docs', c => c.html(PAGE, 200, { 'content-security-policy': POLICY }))
  routes.get('/docs/page.js', c => c.body(SCRIPT, 200, { 'content-type': 'text/javascript; charset=utf-8' }))
  return routes
}
