import type { Ports } from '../ports.ts'

type Timed = Pick<Ports, 'clock' | 'config'>

const TOUCH_EVERY_MS = 10 * 60 * 1000

/** What was touched less than this ago is not touched again, which saves a write at most requests. */
export function touchEveryMs({ config }: Pick<Ports, 'config'>): number {
  return Math.min(TOUCH_EVERY_MS, config.registryGraceMs / 6)
}

/**
 * What was touched before this may be collected. Whoever was told that a blob or manifest is here has the whole grace
 * period to name it: in a manifest, a tag, a container. That covers pushes, and builds that found layers or a base image.
 */
export function collectBefore(ports: Timed): number {
  return ports.clock.now() - ports.config.registryGraceMs - touchEveryMs(ports)
}
