import { SlipwayError } from '#shared/errors.ts'
import { SUBJECTS } from '#shared/protocol/bus.ts'
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
    // Tried, not asked: on workerd there is no connection until something is said.
    const isHeard = await c
      .get('ports')
      .bus.publish(SUBJECTS.probe, new Uint8Array())
      .then(
        () => true,
        () => false,
      )
    return c.json({ status: 'ok', bus: isHeard ? 'connected' : 'disconnected' })
  })
  return routes
}
