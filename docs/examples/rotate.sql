-- From now on, an existing role and its secret change together. As a superuser:
--     echo '{"host": "127.0.0.1", "user": "reporting", "password": "none yet"}' | keyturn set database/reporting
CREATE EXTENSION IF NOT EXISTS keyturn;

SELECT rotate_secret('database/reporting');

-- Does every role have the password of its secret?
SELECT * FROM keyturn.rotations;

-- Another role may rotate it too, if the policy allows it to postgresql:role:deploy:
--     GRANT EXECUTE ON FUNCTION rotate_secret(text) TO deploy;
