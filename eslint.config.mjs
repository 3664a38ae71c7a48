import js from '@eslint/js';
import prettier from 'eslint-config-prettier';
import a11y from 'eslint-plugin-jsx-a11y';
import react from 'eslint-plugin-react';
import hooks from 'eslint-plugin-react-hooks';
import ts from 'typescript-eslint';

export default ts.config(
  {
    ignores: [
      'labextension/lib',
      'labextension/coverage',
      'labextension/*.config.js',
      'labextension/style/*.js'
    ]
  },
  js.configs.recommended,
  ts.configs.recommendedTypeChecked,
  react.configs.flat.recommended,
  hooks.configs['recommended-latest'],
  a11y.flatConfigs.recommended,
  prettier,
  {
    languageOptions: {
      parserOptions: { project: 'labextension/tsconfig.test.json', tsconfigRootDir: import.meta.dirname }
    },
    settings: { react: { version: 'detect' } },
    rules: {
      '@typescript-eslint/naming-convention': [
        'error',
        { selector: 'interface', format: ['PascalCase'], custom: { regex: '^I[A-Z]', match: true } }
      ],
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-misused-promises': ['error', { checksVoidReturn: { attributes: false } }],
      // Lumino's signals take the receiver as an argument of its own.
      '@typescript-eslint/unbound-method': 'off',
      'no-console': 'error',
      'react/prop-types': 'off',
      curly: ['error', 'all'],
      eqeqeq: 'error'
    }
  }
);
