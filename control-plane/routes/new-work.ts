/** Requests that begin what fills disks, or bring bytes: the method, and a path of `/v1`. */
const NEW_WORK: readonly (readonly [string, RegExp])[] = [
  ['POST', /^\/v1\/(containers|builds|contexts|images\/import)$/],
  ['POST', /^\/v1\/containers\/[^/]+\/commit$/],
  // A host that asks for a build to begin.
  ['POST', /^\/v1\/agent\/builds\/claims$/],
]
/** Of the registry: an upload, a part of it, a manifest. */
const PUSHING = new Set(['POST', 'PATCH', 'PUT'])

/**
 * Whether a request may as well come later, when the records have hardly any room left. All others stay possible then:
 * to stop, to remove, to look, to report, to end a build.
 */
export function isNewWork(method: string, path: string): boolean {
  if (path.startsWith('/v2/')) return PUSHING.has(method)
  return NEW_WORK.some(([of, pattern]) => of === method && pattern.test(path))
}
