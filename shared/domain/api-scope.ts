import { z } from 'zod'

/**
 * What a token for containers alone may do: `containers` the calls about containers, and to look at hosts, images and events;
 * `containers:privileged` that, and containers that are not confined; `containers:secrets` that, and containers with secrets.
 */
export const CONTAINER_SCOPES = ['containers', 'containers:privileged', 'containers:secrets'] as const
export type ContainerScope = (typeof CONTAINER_SCOPES)[number]
export const containerScopeSchema = z.enum(CONTAINER_SCOPES)

const CONTAINERS = /^\/v1\/containers(\/|$)/
const LOOKS = /^\/v1\/(hosts|images|events)(\/|$)/

/** Whether scopes let their bearer call this path of the API. Null means every one. Pure. */
export function reaches(scopes: readonly string[] | null, method: string, path: string): boolean {
  if (scopes === null) return true
  if (!scopes.some(scope => CONTAINER_SCOPES.some(known => known === scope))) return false
  return CONTAINERS.test(path) || (method === 'GET' && LOOKS.test(path))
}

/** Whether scopes hold this one. Null means every one. Pure. */
export function holds(scopes: readonly string[] | null, scope: ContainerScope): boolean {
  return scopes === null || scopes.includes(scope)
}
