import { SlipwayError } from '#shared/errors.ts'
import { checkStore } from '../store/health.ts'
import { router } from './environment.ts'

/** `/healthz`: this process answers. `/readyz`: its store does too; the bus may be down, everything works without it. */
export function healthRoutes() {
  const routes = router()
  routes.get('/healthz', c => c.json({ status: 'ok' }))
  routes.get('/readyz', async c => {
    try {
      await checkStore(c.get('ports').db)
    } catch (cause) {
      throw new SlipwayError('store.unavailable', 'The database does not answer: see its log.', { cause })
    }
    return c.json({ status: 'ok', bus: c.get('ports').bus.isConnected() ? 'connected' : 'disconnected' })
  })
  return routes
}
