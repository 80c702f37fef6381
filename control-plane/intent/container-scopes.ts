import { holds } from '#shared/domain/api-scope.ts'
import type { ContainerSpec } from '#shared/domain/container.ts'
import { parseImageReference } from '#shared/domain/reference.ts'
import { allows } from '#shared/domain/repository.ts'
import { privilegesOf } from '#shared/domain/security.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { Principal } from './principal.ts'

/**
 * Whoever decides what runs in a container holds the scopes that it needs: who makes it, who gives it another image, and who
 * starts a process of his own in it. Errors: `auth.forbidden`. Pure.
 */
export function requireScopes(
  { scopes }: Pick<Principal, 'scopes'>,
  spec: Pick<ContainerSpec, 'resources' | 'security'>,
) {
  const { security = {}, resources } = spec
  const privileges = privilegesOf(security, resources.oomScoreAdj)
  if (privileges.length > 0 && !holds(scopes, 'containers:privileged')) throw lacks('containers:privileged', privileges)
  if (security.secrets && !holds(scopes, 'containers:secrets')) throw lacks('containers:secrets', ['secrets'])
}

/**
 * Whoever makes an image of a container may push under its names: they are what others run. Errors: `auth.forbidden`,
 * `image.reference-invalid`. Pure.
 */
export function requireTags({ scopes }: Pick<Principal, 'scopes'>, tags: readonly string[]): void {
  for (const tag of tags) {
    const { repository } = parseImageReference(tag)
    if (allows(scopes, repository, 'push')) continue
    const message = `${tag}: this token may not push to ${repository}. Use one that has the scope to, or another name.`
    throw new SlipwayError('auth.forbidden', message, { facts: { repository } })
  }
}

function lacks(scope: string, fields: readonly string[]): SlipwayError {
  const message = `${fields.join(', ')}: this token lacks the scope ${scope}. Leave it out, or use a token that has the scope.`
  return new SlipwayError('auth.forbidden', message, { facts: { scope, fields } })
}
