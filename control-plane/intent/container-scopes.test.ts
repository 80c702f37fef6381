import { expect, test } from 'vitest'
import { requireTags } from './container-scopes.ts'

test('an image of a container takes only names that its maker may push to', () => {
  const forbidden = expect.objectContaining({ code: 'auth.forbidden', facts: { repository: 'site' } })
  const scopes = ['containers', 'repository:team/*:push']
  expect(() => requireTags({ scopes }, ['team/a:1', 'site:1'])).toThrow(forbidden)
  expect(() => requireTags({ scopes: ['containers', 'repository:site:pull'] }, ['site:1'])).toThrow(forbidden)
  requireTags({ scopes }, ['team/a:1', 'team/b'])
  requireTags({ scopes: null }, ['site:1'])
})
